"""Where losses, scores and pictures go; one file a destination."""
