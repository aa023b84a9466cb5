"""What every package builds on: errors, events, settings, files, locks, devices."""
