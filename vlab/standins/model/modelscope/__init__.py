"""A stand-in for modelscope, of which it has the name and nothing else: it downloads no model.

The guide sets VLLM_USE_MODELSCOPE, for which vLLM imports this package, and only the last stage of
the guide's Dockerfile has it: an image built up to an earlier one fails to start its server.
"""

__version__ = "1.18.1+standin"
"""The oldest that vLLM takes."""
