"""Sockets between services: opened with limits, admitted by key, watched."""
