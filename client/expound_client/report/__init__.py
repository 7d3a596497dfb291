"""The report: one HTML page with the images, the predictions, every map and its proof."""

from expound_client.report.page import to_html

__all__ = ["to_html"]
