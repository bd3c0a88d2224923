"""What the machine allows and asks for: streams, disks, limits, rights, signals."""
