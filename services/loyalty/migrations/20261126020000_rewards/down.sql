DROP TABLE voucher_code, voucher, reward_stock, reward;
