"""Templates of the report: Jinja2 for HTML, Typst for PDF, and the page's style and script."""
