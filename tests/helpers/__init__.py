"""What tests share: slides of known nuclei, runs over them, files of every kind. Tests import nothing from tests."""
