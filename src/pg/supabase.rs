//! Rules for Supabase's addresses.

/// Returns the project of a direct host, `db.<project>.supabase.co`.
pub(super) fn project_of_direct_host(host: &str) -> Option<&str> {
    host.strip_prefix("db.")?.strip_suffix(".supabase.co").filter(|project| !project.contains('.'))
}

/// Returns whether it is a host of the shared pooler.
pub(super) fn is_shared_pooler(host: &str) -> bool {
    host.ends_with(".pooler.supabase.com")
}

/// Returns the project in a user name of the shared pooler, `postgres.<project>`.
pub(super) fn project_of_user(user: &str) -> Option<&str> {
    user.rsplit_once('.').map(|(_, project)| project).filter(|project| !project.is_empty())
}

/// Returns a hint about direct hosts, which have only an IPv6 address that many networks cannot reach.
pub(super) fn hint_without_ipv6(host: &str) -> Option<String> {
    project_of_direct_host(host)?;
    Some(
        "A direct Supabase host has only an IPv6 address. From a network without IPv6, use the session \
         pooler's URL (port 5432) from the dashboard, under Connect."
            .to_owned(),
    )
}

/// Returns a hint about the shared pooler, which finds the project by the user name, and gives a generic error if it does
/// not.
pub(super) fn hint_for_tenant(host: &str) -> Option<String> {
    is_shared_pooler(host).then(|| {
        "At Supabase's pooler the user is postgres.<project ref>, and each project has its own host. Copy \
         both from the dashboard, under Connect."
            .to_owned()
    })
}
