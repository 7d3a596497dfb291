"""What happens around every call, one concern each."""
