"""The front door: environments and commands. Standard library only, since nothing is installed yet."""
