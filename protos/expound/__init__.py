"""The contract between Expound's parts: messages, tensors, sizes, reasons, tasks and records."""
