"""`opq-tools bench view`: View over a full store, as it is asked, beside a bare page of the same server."""
