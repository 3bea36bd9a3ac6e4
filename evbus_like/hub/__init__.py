"""What ties the hub's plugins and settings to the engine; plain modules, for classes are not kept on a hub."""
