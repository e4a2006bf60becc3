"""The place of the server in vLLM's package."""
