"""The defaults of every command and group, as YAML; packaged as vae3d.conf."""
