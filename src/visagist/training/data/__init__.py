"""Facesets in memory, on the device, as the trainer wants them."""
