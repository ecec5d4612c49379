"""What another laboratory, another cut or a denser tissue would have shown: images with annotation
in, the same out.
"""
