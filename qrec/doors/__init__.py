"""The doors through which a history leaves a store and comes into one: exports, imports, copies, queries."""
