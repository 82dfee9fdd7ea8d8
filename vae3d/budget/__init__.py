"""What a training step takes in memory and time, and what it recomputes to fit."""
