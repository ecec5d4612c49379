"""What tells a generator what to draw: prompts as tokens, and points of nuclei as maps.

``template_encoder``, ``trained_encoder`` and ``text_encoders`` turn prompts into tokens (frozen, on
the CPU); ``text_conditioner`` and ``points_encoder`` are parts of the network that learn to listen.
``text`` says what passes between them; read it first.
"""
