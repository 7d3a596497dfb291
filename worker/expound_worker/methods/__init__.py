"""The methods, one file each; `catalogue` lists them."""
