"""Several triggering services that divide the Boxes of one store."""
