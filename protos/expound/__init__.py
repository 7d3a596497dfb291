"""The contract between Expound's parts: messages, tensors, reasons of errors, tasks and records."""
