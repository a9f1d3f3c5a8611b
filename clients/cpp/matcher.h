// Compares what was observed with what a vector expects.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

// Says where and how an observation differs from what is expected, and nothing if it matches; `seen` is null for a member
// that is not there.
std::string Mismatch(const std::string& path, const nlohmann::json& expected, const nlohmann::json* seen);
