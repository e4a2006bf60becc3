"""A lab host in a virtual machine: real IOMMU, real VFIO, real containerd, docker and CNI.

What is stood in for, and by what, is under ``vlab/standins``; nothing else here pretends.
This package knows nothing of pytest and nothing of the harness: a person can bring the lab up
with ``python -m vlab up`` and follow the deployment guide in it by hand.
"""
