"""Write the outputs of an audit: tables, summary, report, export."""
