"""The rooms of the command line: none is imported by anything but `__main__`."""
