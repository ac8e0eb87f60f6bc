"""One module per resource; `pellucid_api.routes` lists every route."""
