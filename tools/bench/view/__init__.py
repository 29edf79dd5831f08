"""`opq-tools bench view`: requests to View over a full store, compared with a bare page."""
