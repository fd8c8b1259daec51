-- The operational database of a small payment service: what exists before wakestream comes along.
-- Run by its owner. `fraud_capture` (change capture) and `fraud_ops` (the agent's actions) get the least they need.

create table customer (
    id      bigint generated always as identity primary key,
    name    text not null,
    country text not null,
    email   text not null
);

create table device (
    id          bigint generated always as identity primary key,
    customer_id bigint not null references customer,
    first_seen  timestamptz not null default now()
);

-- A payment is open for as long as the merchant waits. What nobody holds is booked by the nightly run.
create table payment (
    id          bigint generated always as identity primary key,
    customer_id bigint not null references customer,
    device_id   bigint not null references device,
    merchant    text not null,
    country     text not null,
    amount      numeric(10, 2) not null check (amount > 0),
    at          timestamptz not null default now(),
    note        text,                             -- typed by the payer
    status      text not null default 'open' check (status in ('open', 'held', 'released', 'booked')),
    judged_by   text
);
create index on payment (customer_id, at desc);

grant select on device, payment to fraud_capture;
grant select (id, name, country) on customer to fraud_capture;

-- The agent may hold or release a payment, and say that it was the agent.
grant select (id, status) on payment to fraud_ops;
grant update (status, judged_by) on payment to fraud_ops;
