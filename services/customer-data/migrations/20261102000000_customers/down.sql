DROP TABLE interactions, purchases, customer_tags, customers;
