"""Scores of a reconstruction: metrics, regions, references and seams."""
