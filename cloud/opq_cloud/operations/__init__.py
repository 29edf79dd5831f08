"""What View's pages and the commands share: changes of Boxes and incidents, and calls of the services."""
