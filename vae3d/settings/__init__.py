"""The settings of commands: keys and sentences, the help, and settings read from files."""
