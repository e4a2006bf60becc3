"""A stand-in for vLLM: its command line and HTTP interface, with another engine and model behind.

Real here: the answers. SmolLM2-135M-Instruct (Apache-2.0) computes them on the processor, in
llama.cpp's server (wheel xllamacpp). Not real: vLLM's engine, Qwen, and any computing on a GPU. The
server only refuses to start without one, as vLLM does. It says so in its banner, in ``/version``,
``/v1/models``, in the header ``X-Stand-In`` and in the ``system_fingerprint`` of every answer.
"""

__version__ = "0.7.3+standin"
"""The version whose command line and error texts are followed."""
