DROP TABLE merge_steps;
DROP TABLE merges;
