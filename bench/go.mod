module github.com/jobguard/jobguard/bench

go 1.26.0

replace github.com/jobguard/jobguard => ../
