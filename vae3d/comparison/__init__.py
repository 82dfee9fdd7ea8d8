"""Runs compared with each other, from the reports that they wrote."""
