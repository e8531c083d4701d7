"""A laboratory on this machine: a real server and AWS as moto plays it. The demo and the tests both work in it."""
