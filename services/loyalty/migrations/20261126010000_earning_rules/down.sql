DROP TABLE earning_counter, budget_slice, earning_rule, programme;
