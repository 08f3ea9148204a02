DROP TABLE legal_holds;
DROP TABLE erasure_steps;
DROP TABLE erasures;
