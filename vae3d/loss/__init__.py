"""The training objective: reconstruction terms and the KL divergence."""
