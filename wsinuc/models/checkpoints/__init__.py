"""Models on disk: safetensors with a JSON header in, built networks out. Read ``checkpoint`` first."""
