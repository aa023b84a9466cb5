"""Building blocks that architectures share; the registry of architectures does not look here."""
