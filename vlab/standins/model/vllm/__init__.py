"""A stand-in for vLLM: its command line, log and HTTP interface, with another engine and model.

Real here: the answers. SmolLM2-135M-Instruct (Apache-2.0) computes them on the stand-in GPU, in
llama.cpp's server behind the device, and without the device there is none. Not real: vLLM's engine
and Qwen. It says so in its first lines, in ``/version``, in the ``root`` of ``/v1/models``, in the
header ``X-Stand-In``, and in the ``system_fingerprint`` of every answer.
"""

__version__ = "0.24.0+standin"
"""The version whose command line, log lines and answers are followed, as recorded of a real one."""
