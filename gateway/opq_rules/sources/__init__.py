"""The sources that come with the engine, one file each: `Config` and a class of `opq_plugins.sdk`."""
