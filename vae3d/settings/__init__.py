"""The settings of commands: keys and sentences, the help, and settings in files."""
