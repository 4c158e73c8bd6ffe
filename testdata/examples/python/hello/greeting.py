"""What the program says, and which version it is."""

VERSION = "1.2.0"


def greeting():
    return f"hello from {VERSION}"
