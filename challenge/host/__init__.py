"""The machine that a command runs on: streams, disks, limits, permissions, signals."""
