//! Messages by prost, services by tonic.

use std::io;

use prost_build::{Config, Service, ServiceGenerator};
use prost_reflect::DescriptorPool;

use crate::tables;

/// Writes one Rust file for each package.
pub fn generate(pool: &DescriptorPool, files: tonic_prost_build::FileDescriptorSet) -> io::Result<()> {
    let mut config = Config::new();
    config
        // Two encodings of one message are the same bytes, so that a request can be told from another by its hash.
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        // Google's examples would be taken for doc tests.
        .disable_comments([".google"])
        .skip_debug(tables::redacted(pool).map(|message| format!(".{}", message.full_name())));
    // Leaving out a message's Debug leaves out that of the enums inside it.
    for message in tables::redacted(pool) {
        for nested in message.child_enums() {
            config.enum_attribute(format!(".{}", nested.full_name()), "#[derive(Debug)]");
        }
    }
    config.service_generator(Box::new(ServerAndClient {
        server: tonic_prost_build::configure()
            .build_client(false)
            .codec_path("crate::codec::ServerCodec")
            .service_generator(),
        client: tonic_prost_build::configure().build_server(false).service_generator(),
    }));
    config.compile_fds(files)
}

/// Servers and clients differ in what an undecodable message means: the caller's mistake, or the service's.
struct ServerAndClient {
    server: Box<dyn ServiceGenerator>,
    client: Box<dyn ServiceGenerator>,
}

impl ServiceGenerator for ServerAndClient {
    fn generate(&mut self, service: Service, code: &mut String) {
        self.server.generate(service.clone(), code);
        self.client.generate(service, code);
    }

    fn finalize(&mut self, code: &mut String) {
        self.server.finalize(code);
        self.client.finalize(code);
    }
}
