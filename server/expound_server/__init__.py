"""The gRPC front of Expound."""
