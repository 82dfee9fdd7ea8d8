"""What `make gpu` measures, in parts that are resumed, and the page that it writes."""
