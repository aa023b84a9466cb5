"""Shared foundations: errors, events, settings, files, locks, devices and registries."""
