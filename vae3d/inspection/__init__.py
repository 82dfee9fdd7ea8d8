"""What `vae3d inspect` reports of cases before a training: values, oddities, time to read them."""
